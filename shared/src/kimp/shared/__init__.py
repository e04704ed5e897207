"""Domain types and ports of kimp: pure, without I/O, clock or dice."""
