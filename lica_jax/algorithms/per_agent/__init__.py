"""IDDPG, MADDPG, SQDDPG and COMA on particle tasks: an actor and a critic for every agent."""
