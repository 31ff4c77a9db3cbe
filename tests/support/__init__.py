"""What the tests share: programs started and stopped, ports, the gateway as a process, and its peers."""
