package volumesnapshot

import (
	"fmt"
	"net/http"
	"testing"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestAKindThatIsNotThere(t *testing.T) {
	resource := schema.GroupResource{Group: "snapshot.storage.k8s.io", Resource: Resource}
	for name, tt := range map[string]struct {
		err  error
		want bool
	}{
		"no error": {nil, false},
		"never installed": {
			fmt.Errorf("list: %w", &meta.NoKindMatchError{GroupKind: schema.GroupKind{
				Group: resource.Group,
				Kind:  Kind,
			}}), true,
		},
		"removed": {
			apierrors.NewGenericServerResponse(http.StatusNotFound, "get", resource, "", "404 page not found", 0, true),
			true,
		},
		"a missing object": {apierrors.NewNotFound(resource, "photos"), false},
		"another server error": {
			apierrors.NewGenericServerResponse(http.StatusBadGateway, "get", resource, "", "bad gateway", 0, true),
			false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(NoKind(tt.err)).To(Equal(tt.want))
		})
	}
}
