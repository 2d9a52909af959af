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
	const tested = "the server rejected our request due to an error in our request"
	for name, tt := range map[string]struct {
		err  error
		want bool
	}{
		"the test failed": {apierrors.NewGenericServerResponse(422, "", snapshots, "", tested, 0, false), true},
		"a proxy":         {apierrors.NewGenericServerResponse(422, "", snapshots, "", tested, 0, true), false},
		"a webhook": {&apierrors.StatusError{ErrStatus: metav1.Status{
			Code: 422, Reason: metav1.StatusReasonInvalid, Message: `admission webhook "w" denied the request`,
		}}, false},
	} {
		t.Run(name, func(t *testing.T) { NewWithT(t).Expect(differs(tt.err)).To(Equal(tt.want)) })
	}
}
