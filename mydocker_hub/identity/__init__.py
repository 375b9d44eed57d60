"""Who somebody is: what a door says of them in, person and role out. Pure: no I/O, no clock."""
