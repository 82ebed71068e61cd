"""What training rows hold: mergeable statistics and sketches."""
