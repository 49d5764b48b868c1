"""Tests of cxrflow.models."""
