"""The coverage chart: a lane a series over time, as a PNG or as a page of HTML.

Only the pictures belong here: what is in the lanes is `tapehouse.query.timelines`' business.
"""
