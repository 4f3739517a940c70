"""The one sentence that stands in every report, table, picture and model card."""

DISCLAIMER = "Research software, not a medical device. Not for diagnosis or treatment."
