package doctor

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/config"
)

// shippedObjects are the objects of config/ with which a cluster is compared.
type shippedObjects struct {
	crds            []apiextensionsv1.CustomResourceDefinition
	policies        []admissionv1.ValidatingAdmissionPolicy
	bindings        map[string]admissionv1.ValidatingAdmissionPolicyBinding // by the policy that they bind
	networkPolicies []string
	clusterRoles    map[string][]rbacv1.PolicyRule
	roles           map[string][]rbacv1.PolicyRule
}

// shipped reads the files that are built into this program. They can't be wrong: the tests read them, too.
var shipped = sync.OnceValue(func() *shippedObjects {
	out := &shippedObjects{
		bindings:     map[string]admissionv1.ValidatingAdmissionPolicyBinding{},
		clusterRoles: map[string][]rbacv1.PolicyRule{}, roles: map[string][]rbacv1.PolicyRule{},
	}
	for _, files := range []fs.FS{config.CRDs, config.Rights} {
		if err := fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := fs.ReadFile(files, path)
			if err == nil {
				err = out.readFile(text)
			}
			if err != nil {
				return fmt.Errorf("read config/%s: %w", path, err)
			}
			return nil
		}); err != nil {
			panic(err)
		}
	}
	return out
})

func (o *shippedObjects) readFile(text []byte) error {
	for documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text))); ; {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = o.add(document)
		}
		if err != nil {
			return err
		}
	}
}

func (o *shippedObjects) add(document []byte) error {
	var is metav1.PartialObjectMetadata
	if err := sigsyaml.Unmarshal(document, &is); err != nil {
		return err
	}
	switch is.Kind {
	case "CustomResourceDefinition":
		var crd apiextensionsv1.CustomResourceDefinition
		err := sigsyaml.Unmarshal(document, &crd)
		o.crds = append(o.crds, crd)
		return err
	case "ValidatingAdmissionPolicy":
		var p admissionv1.ValidatingAdmissionPolicy
		err := sigsyaml.Unmarshal(document, &p)
		o.policies = append(o.policies, p)
		return err
	case "ValidatingAdmissionPolicyBinding":
		var b admissionv1.ValidatingAdmissionPolicyBinding
		err := sigsyaml.Unmarshal(document, &b)
		o.bindings[b.Spec.PolicyName] = b
		return err
	case "NetworkPolicy":
		var p networkingv1.NetworkPolicy
		err := sigsyaml.Unmarshal(document, &p)
		o.networkPolicies = append(o.networkPolicies, p.Name)
		return err
	case "ClusterRole", "Role":
		var r rbacv1.ClusterRole
		err := sigsyaml.Unmarshal(document, &r)
		if is.Kind == "Role" {
			o.roles[r.Name] = r.Rules
		} else {
			o.clusterRoles[r.Name] = r.Rules
		}
		return err
	}
	return nil
}
