"""What is particular to each modality, behind one contract."""
