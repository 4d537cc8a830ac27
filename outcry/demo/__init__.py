"""The bots of `outcry up --demo`: a market maker, a momentum trader and a noise trader, so that there is a market.

They are ordinary clients with accounts of their own. What they hold in memory is chance and a view of prices. Orders
and positions are read from the exchange in every round, so that a restart of it, or of them, needs no care.
"""
