package doctor

import (
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// installation judges the Deployment, the kinds and the NetworkPolicies. Without flags nothing else can be judged.
func (s *State) installation() (Section, *Flags) {
	out := Section{Name: "Installation"}
	s.kinds(&out)
	if s.Deployment == nil {
		if s.read("deployments") {
			out.add(Fail, "", s.Others, "there is no Deployment %s: name the manager with --manager NAMESPACE/NAME%s",
				s.Manager, map[bool]string{true: ", such as one of these"}[len(s.Others) > 0])
		}
		return out, nil
	}
	flags, err := FlagsOf(s.Deployment)
	if err != nil {
		out.fail("", "%v", err)
		return out, nil
	}
	out.ok("the manager is Deployment %s, with the account %s", s.Manager, s.Account())
	out.list(Warn, "", s.Others, "other Deployments have the label of a manager")
	s.images(&out, &flags)
	s.flagLines(&out, &flags)
	s.networkPolicies(&out)
	return out, &flags
}

// images judges the images of the manager and of movers.
func (s *State) images(out *Section, flags *Flags) {
	for _, i := range []struct{ of, image string }{
		{"the manager", flags.Image}, {"movers", flags.MoverImage},
	} {
		switch {
		case i.image == "":
			out.fail("", "the flag --mover-image of the manager is not set")
			continue
		case pinned(i.image):
			out.ok("the image of %s is pinned by its digest: %s", i.of, i.image)
		default:
			out.warn("", "the image of %s is not pinned, so whoever can push to its registry changes it: name %s "+
				"with its digest", i.of, i.image)
		}
		if tag := tagOf(i.image); tag != "" && tag != s.Version {
			out.warn("", "the image of %s has the tag %s, and this program is version %s: it compares with its own "+
				"version", i.of, tag, s.Version)
		}
	}
}

// pinned reports whether an image is named by its content.
func pinned(image string) bool { return strings.Contains(image, "@sha256:") }

// tagOf returns the tag of an image, "" without one.
func tagOf(image string) string {
	image, _, _ = strings.Cut(image, "@")
	_, tag, _ := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
	return tag
}

// flagLines shows the flags that decide who can do what.
func (s *State) flagLines(out *Section, flags *Flags) {
	out.add(OK, "", flags.Administrators, "namespaces of the administrators (--admin-namespaces)")
	if len(flags.Egress.Allow) > 0 {
		out.add(Warn, seeNetwork, flags.Egress.Allow, "--egress-allow opens addresses that are refused by default")
	}
	out.list(OK, "", flags.Egress.Deny, "--egress-deny refuses more addresses")
	out.list(Warn, seeNetwork, flags.Hidden, "the proxy of the manager can come from values that only its pod knows")
	switch {
	case !flags.MetricsSecure:
		out.fail(seeRest, "--metrics-secure=false serves the metrics to everybody in the cluster")
	case flags.CertDir == "":
		out.ok("metrics are served over HTTPS, with a certificate that the manager makes: --metrics-cert-dir is not " +
			"set")
	default:
		out.ok("metrics are served over HTTPS, with the certificate of --metrics-cert-dir=%s", flags.CertDir)
	}
	if flags.ClusterName == "" {
		out.warn("", "--cluster-name is not set: the directories that a policy leaves out begin with a part of a UID, "+
			"which the next cluster does not have")
		return
	}
	out.ok("the name of the cluster is %s (--cluster-name)", flags.ClusterName)
}

// kinds compares the CRDs with those of this program.
func (s *State) kinds(out *Section) {
	if !s.read("customresourcedefinitions") {
		return
	}
	have := map[string]*apiextensionsv1.CustomResourceDefinition{}
	for i := range s.CRDs {
		have[s.CRDs[i].Name] = &s.CRDs[i]
	}
	var missing, differ, unknown []string
	for i := range shipped().crds {
		want := &shipped().crds[i]
		switch is := have[want.Name]; {
		case is == nil:
			missing = append(missing, want.Name)
		case !sameSchema(is, want):
			differ = append(differ, want.Name)
		}
		delete(have, want.Name)
	}
	for name, crd := range have {
		if crd.Spec.Group == v1alpha1.Group {
			unknown = append(unknown, name)
		}
	}
	out.list(Fail, "", missing, "CRDs are missing: apply config/crd")
	out.list(Fail, "", differ, "CRDs are not those of this program (version %s), with its bounds and rules: apply "+
		"config/crd of the manager's version, and use the program of that version", s.Version)
	out.list(Warn, "", unknown, "this program (version %s) does not know these CRDs", s.Version)
	if len(missing)+len(differ) == 0 {
		out.ok("the CRDs are those of this program (version %s)", s.Version)
	}
}

// sameSchema reports whether two CRDs accept the same objects of v1alpha1.
func sameSchema(a, b *apiextensionsv1.CustomResourceDefinition) bool {
	of := func(crd *apiextensionsv1.CustomResourceDefinition) *apiextensionsv1.CustomResourceValidation {
		for i := range crd.Spec.Versions {
			if v := &crd.Spec.Versions[i]; v.Name == v1alpha1.GroupVersion.Version && v.Served {
				return v.Schema
			}
		}
		return nil
	}
	return len(a.Spec.Versions) == len(b.Spec.Versions) && of(a) != nil && equality.Semantic.DeepEqual(of(a), of(b))
}

// networkPolicies looks for those that are shipped. They are a component, because not every network plug-in enforces
// them.
func (s *State) networkPolicies(out *Section) {
	if !s.read("networkpolicies") {
		return
	}
	have := map[string]bool{}
	for _, p := range s.NetworkPolicies {
		have[p.Name] = true
	}
	var missing []string
	for _, name := range shipped().networkPolicies {
		if !have[s.installed(name)] {
			missing = append(missing, s.installed(name))
		}
	}
	out.list(Warn, seeRest, missing, "namespace %s lacks NetworkPolicies of the component config/network",
		s.Manager.Namespace)
	if len(missing) == 0 {
		out.ok("the NetworkPolicies of the component config/network are in namespace %s", s.Manager.Namespace)
	}
}
