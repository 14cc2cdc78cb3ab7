"""What tests of several packages share: faulty encoders, fakes of devices, where things are."""
