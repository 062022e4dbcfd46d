"""DICOM decoder: reads the header and the stored pixels of a file, and renders them as a viewer displays them."""
