"""An invented region to try Casewarden with: schools, providers, staff, students and their cases.

`region` makes it up, `credentials` and `accounts` say who can log in, `seed` loads it, and `day`
works a school day in it. Nothing here exists for anybody but the command line.
"""
