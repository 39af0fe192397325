"""What other programs make of the same work. Each script says how its environment is made; Hone needs none of them."""
