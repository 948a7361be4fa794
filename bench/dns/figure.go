package main

import (
	"slices"
	"time"
)

// percentile returns the smallest of the times that at least p of a hundred do
// not exceed (the nearest rank), 0 of none. It sorts the list.
func percentile(list []time.Duration, p int) time.Duration {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return list[max((len(list)*p+99)/100, 1)-1]
}
