"""Faces in pictures: found, restored and put back, by the networks that an installation has files of."""
