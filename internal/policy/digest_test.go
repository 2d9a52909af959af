package policy

import (
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestDigest(t *testing.T) {
	params := func(raw string) v1alpha1.TaskReference {
		return v1alpha1.TaskReference{Name: "t", Params: &apiextensionsv1.JSON{Raw: []byte(raw)}}
	}
	g := NewWithT(t)
	g.Expect(Digest(map[string]string{})).
		To(Equal("sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"))
	g.Expect(Digest(params(`{"a": "1", "b": "2"}`))).To(Equal(Digest(params(`{"b":"2","a":"1"}`))),
		"order and white space do not count")
	g.Expect(Digest(params(`{"a":"1"}`))).NotTo(Equal(Digest(params(`{"a":"2"}`))))
	g.Expect(Digest(params(`{"a":9007199254740993}`))).NotTo(Equal(Digest(params(`{"a":9007199254740992}`))),
		"numbers keep all digits")
}
