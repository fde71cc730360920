"""Tests of mpzmq/fleets/."""
