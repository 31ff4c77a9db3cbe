"""Messages, transactions, dialogs, registration and SDP. Imports no other room."""
