"""The parts of the crash experiment: what happens when, to whom, and what must hold afterwards.

`plan` draws everything from a seed, `stage` holds the processes, `play` lets the plan
happen, `tables` reads the database as anybody could, `audit` compares it with what the server
says it sent, `report` prints the table.
"""
