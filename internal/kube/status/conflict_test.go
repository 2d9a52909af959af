package status

import (
	"context"
	"errors"
	"testing"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestRetryConflict(t *testing.T) {
	conflict := apierrors.NewConflict(v1alpha1.GroupVersion.WithResource("x").GroupResource(), "data",
		errors.New("it has changed"))
	other := errors.New("something else")
	for name, c := range map[string]struct {
		answers []error
		want    error
		calls   int
	}{
		"no conflict":         {[]error{nil}, nil, 1},
		"another error":       {[]error{other}, other, 1},
		"a conflict once":     {[]error{conflict, nil}, nil, 2},
		"a conflict for ever": {[]error{conflict}, conflict, 5},
		"then another error":  {[]error{conflict, other}, other, 2},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			calls := 0
			err := RetryConflict(t.Context(), func() error {
				calls++
				return c.answers[min(calls, len(c.answers))-1]
			})
			if c.want == nil {
				g.Expect(err).NotTo(HaveOccurred())
			} else {
				g.Expect(err).To(MatchError(c.want))
			}
			g.Expect(calls).To(Equal(c.calls))
		})
	}
	g := NewWithT(t)
	ctx, stop := context.WithCancel(t.Context())
	calls := 0
	g.Expect(RetryConflict(ctx, func() error {
		calls++
		stop()
		return conflict
	})).To(MatchError(conflict))
	g.Expect(calls).To(Equal(1), "the manager stops")
}
