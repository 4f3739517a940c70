"""A test host for the Slicer module: Slicer's MRML core and real Qt, without the Slicer application.

README.md beside this file says what is real and what stands in; :func:`Testing.slicer.host.host.boot` starts it.
"""
