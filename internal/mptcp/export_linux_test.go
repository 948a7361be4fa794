package mptcp

// ReadOldInfo is the way FullInfo takes before Linux 6.5.
var ReadOldInfo = readOldInfo
