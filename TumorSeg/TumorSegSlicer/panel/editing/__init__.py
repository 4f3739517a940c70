"""Tools that draw: brush, placing of clicks, the embedded Segment Editor."""
