"""Networks that other projects trained: how they are read, called and tested as priors of this one."""
