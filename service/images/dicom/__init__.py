"""DICOM files: header, stored pixels, and how a viewer displays them."""
