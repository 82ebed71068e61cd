"""Columns of a log → columns of examples, their split and sampling."""
