package check

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestRetentionIsChecked(t *testing.T) {
	const (
		configuration = `{apiVersion: backup.cairn.dev/v1alpha1, kind: BackupConfiguration, metadata: {name: c, namespace: shop}, spec: {
			target: {kind: PersistentVolumeClaim, name: data}, backends: [{name: main, storageRef: {name: s3}, retentionPolicy: {name: keep, namespace: NS}}], sessions: []}}`
		keep = `{apiVersion: backup.cairn.dev/v1alpha1, kind: RetentionPolicy, metadata: {name: keep, namespace: NS}, spec: SPEC}`
	)
	for name, c := range map[string]struct {
		namespace, spec, field, want string
	}{
		"a valid policy": {"shop", "{maxRetentionPeriod: 30d}", "", ""},
		"an unknown time zone": {
			"shop", "{maxRetentionPeriod: 30d, timeZone: Mars/Olympus}", "spec.timeZone",
			`unknown time zone "Mars/Olympus": write a name of the IANA database such as Europe/Berlin`,
		},
		"a unit that occurs twice": {
			"shop", "{maxRetentionPeriod: 1d2d}", "spec.maxRetentionPeriod",
			`"1d2d" is not a period: the unit d occurs twice`,
		},
		"a policy that is not for everyone": {
			"vault", "{maxRetentionPeriod: 30d}", "spec.backends[0].retentionPolicy",
			"RetentionPolicy vault/keep does not allow",
		},
		"a policy for everyone": {
			"vault", "{maxRetentionPeriod: 30d, usagePolicy: {allowedNamespaces: {from: All}}}", "", "",
		},
		"a missing policy": {
			"shop", "", "spec.backends[0].retentionPolicy", "there is no RetentionPolicy shop/keep",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var objects []Object
			for _, text := range []string{configuration, keep} {
				if c.spec == "" && text == keep {
					continue
				}
				content := map[string]any{}
				g.Expect(yaml.Unmarshal([]byte(strings.NewReplacer("NS", c.namespace, "SPEC", c.spec).Replace(text)),
					&content)).To(Succeed())
				objects = append(objects, Object{Unstructured: &unstructured.Unstructured{Object: content}})
			}
			var found []Finding
			for _, f := range Objects(objects, "shop", func(Reference) (*unstructured.Unstructured,
				bool,
			) {
				return nil, true
			}) {
				switch f.Reason {
				case v1alpha1.ReasonInvalidRetentionPolicy, v1alpha1.ReasonRetentionPolicyNotAllowed,
					v1alpha1.ReasonRetentionPolicyNotFound:
					found = append(found, f)
				}
			}
			if c.want == "" {
				g.Expect(found).To(BeEmpty())
				return
			}
			g.Expect(found).To(HaveLen(1))
			g.Expect(found[0].Severity).To(Equal(SeverityError))
			g.Expect(found[0].Field).To(Equal(c.field))
			g.Expect(found[0].Message).To(ContainSubstring(c.want))
		})
	}
}
