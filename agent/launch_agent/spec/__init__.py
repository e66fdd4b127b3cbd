"""What a job asks for, as values and pure functions: nothing here touches the world."""
