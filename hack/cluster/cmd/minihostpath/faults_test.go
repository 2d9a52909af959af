package main

import (
	"context"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestWhatAClassAsksForIsDone(t *testing.T) {
	for name, tc := range map[string]struct {
		params map[string]string
		delay  time.Duration
		codes  []codes.Code // of the first calls for one snapshot
	}{
		"nothing":     {nil, 0, []codes.Code{codes.OK, codes.OK}},
		"ready later": {map[string]string{"readyAfter": "5s"}, 5 * time.Second, []codes.Code{codes.OK}},
		"no duration": {map[string]string{"readyAfter": "soon"}, 0, []codes.Code{codes.InvalidArgument}},
		"fail":        {map[string]string{"fail": "true"}, 0, []codes.Code{codes.Internal, codes.Internal}},
		"do not fail": {map[string]string{"fail": "false"}, 0, []codes.Code{codes.OK}},
		"fail twice": {
			map[string]string{"failTimes": "2"}, 0, []codes.Code{codes.Internal, codes.Internal, codes.OK, codes.OK},
		},
		"fail, then be late": {
			map[string]string{"failTimes": "1", "readyAfter": "1s"},
			time.Second,
			[]codes.Code{codes.Internal, codes.OK},
		},
		"no number of times":   {map[string]string{"failTimes": "often"}, 0, []codes.Code{codes.InvalidArgument}},
		"others are no faults": {map[string]string{"csi.storage.k8s.io/x": "true"}, 0, []codes.Code{codes.OK}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var f faults
			for _, snapshot := range []string{"one", "another"} {
				for _, want := range tc.codes {
					delay, err := f.provoke(t.Context(), snapshot, tc.params)
					g.Expect(status.Code(err)).To(Equal(want), snapshot)
					if want == codes.OK {
						g.Expect(delay).To(Equal(tc.delay))
					}
				}
			}
		})
	}
}

func TestACallThatHangsEndsWithItsCaller(t *testing.T) {
	g := NewWithT(t)
	ctx, giveUp := context.WithCancel(t.Context())
	answer := make(chan error, 1)
	go func() {
		_, err := (&faults{}).provoke(ctx, "one", map[string]string{"hang": "true"})
		answer <- err
	}()
	g.Consistently(answer, "100ms").ShouldNot(Receive())
	giveUp()
	var err error
	g.Eventually(answer, "10s").Should(Receive(&err), "the caller has given up")
	g.Expect(status.Code(err)).To(Equal(codes.Canceled))
}
