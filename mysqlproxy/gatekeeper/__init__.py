"""Admission: who may log in, from where, how many."""
