"""How things are written and read: whole files, tables, records, figures, leases, and a hash of the code."""
