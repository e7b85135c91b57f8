"""Nodes of the scene to volumes and back: publishing, display, DICOM."""
