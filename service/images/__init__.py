"""Decoding: bytes of a JPEG, PNG or DICOM file to one greyscale array, within limits."""
