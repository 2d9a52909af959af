package report

import (
	"errors"
	"testing"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Only the API server itself can say that the work of a mover does not count any more.
func TestWhatFences(t *testing.T) {
	snapshots := schema.GroupResource{Resource: "snapshots"}
	ofAProxy := apierrors.NewGenericServerResponse(404, "PATCH", snapshots, "s", "no such page", 0, true)
	for name, tt := range map[string]struct {
		err  error
		want bool
	}{
		"the object is gone":       {apierrors.NewNotFound(snapshots, "s"), true},
		"a proxy knows no address": {ofAProxy, false},
		"another Job has it": {
			apierrors.NewForbidden(snapshots, "s",
				errors.New("the annotation backup.cairn.dev/movers does not name its Job")),
			true,
		},
		"a right is missing":     {apierrors.NewForbidden(snapshots, "s", errors.New("cannot patch")), false},
		"the API server is away": {errors.New("connection refused"), false},
	} {
		t.Run(name, func(t *testing.T) { NewWithT(t).Expect(fences(tt.err)).To(Equal(tt.want)) })
	}
	NewWithT(t).Expect(apierrors.HasStatusCause(ofAProxy, metav1.CauseTypeUnexpectedServerResponse)).To(BeTrue())
}
