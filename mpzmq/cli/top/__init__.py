"""``mpzmq top``."""
