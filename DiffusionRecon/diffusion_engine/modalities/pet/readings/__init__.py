"""Files of PET acquisitions and images: what they say, told as a sinogram or a volume."""
