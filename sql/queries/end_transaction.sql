-- End the transaction in the round trip of its last statement; nothing comes of it.
commit
