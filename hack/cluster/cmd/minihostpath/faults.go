package main

import (
	"context"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Parameters of a VolumeSnapshotClass that tests can use to provoke slow and
// failing snapshots.
const (
	paramReadyAfter = "readyAfter" // duration before a snapshot is ready to use
	paramFail       = "fail"       // "true": CreateSnapshot always fails
	paramFailTimes  = "failTimes"  // number of calls for each snapshot that fail before one works
	paramHang       = "hang"       // "true": CreateSnapshot does not answer until the caller gives up
)

// faults remembers how often calls failed because a class asked for it. What
// it remembers ends with the process.
type faults struct {
	mu     sync.Mutex
	failed map[string]int // by the snapshot's name
}

// provoke does what a class asks for: it returns the error to answer with, or
// the time that the snapshot is to take until it is ready.
func (f *faults) provoke(ctx context.Context, snapshot string, params map[string]string) (time.Duration, error) {
	if params[paramHang] == "true" {
		<-ctx.Done()
		return 0, status.FromContextError(ctx.Err()).Err()
	}
	if params[paramFail] == "true" {
		return 0, status.Error(codes.Internal, "snapshot failure requested by the class parameter "+paramFail)
	}
	if v := params[paramFailTimes]; v != "" {
		times, err := strconv.Atoi(v)
		if err != nil {
			return 0, invalid("%s: %v", paramFailTimes, err)
		}
		if n := f.fail(snapshot, times); n > 0 {
			return 0, status.Errorf(codes.Internal, "snapshot failure %d of %d requested by the class parameter %s", n,
				times, paramFailTimes)
		}
	}
	v := params[paramReadyAfter]
	if v == "" {
		return 0, nil
	}
	delay, err := time.ParseDuration(v)
	if err != nil {
		return 0, invalid("%s: %v", paramReadyAfter, err)
	}
	return delay, nil
}

// fail returns the number of this failure of a snapshot, from 1, or 0 if the snapshot has failed often enough.
func (f *faults) fail(snapshot string, times int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failed[snapshot] >= times {
		return 0
	}
	if f.failed == nil {
		f.failed = map[string]int{}
	}
	f.failed[snapshot]++
	return f.failed[snapshot]
}
