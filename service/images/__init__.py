"""Image decoder: turns the bytes of a JPEG, PNG or DICOM file into one greyscale array, within limits."""
