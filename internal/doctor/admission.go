package doctor

import (
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// admission compares the admission policies and their bindings with those that are shipped.
func (j *judge) admission() Section {
	out := Section{Name: "Admission policies"}
	if !j.read("validatingadmissionpolicies", "validatingadmissionpolicybindings") {
		return out
	}
	have := map[string]*admissionv1.ValidatingAdmissionPolicy{}
	for i := range j.AdmissionPolicies {
		have[j.AdmissionPolicies[i].Name] = &j.AdmissionPolicies[i]
	}
	bindings := map[string][]*admissionv1.ValidatingAdmissionPolicyBinding{}
	for i := range j.AdmissionBindings {
		b := &j.AdmissionBindings[i]
		bindings[b.Spec.PolicyName] = append(bindings[b.Spec.PolicyName], b)
	}
	var missing, differ, intact []string
	for i := range shipped().policies {
		want := &shipped().policies[i]
		name := j.installed(want.Name)
		is := have[name]
		switch {
		case is == nil:
			missing = append(missing, name)
		case !samePolicy(is.Spec, want.Spec):
			differ = append(differ, name)
		case j.binds(&out, want.Name, bindings[name]):
			intact = append(intact, name)
		}
	}
	out.list(Fail, seeOrders, missing, "ValidatingAdmissionPolicies are missing: apply config/admission")
	out.list(Fail, seeOrders, differ, "ValidatingAdmissionPolicies are not those of this program (version %s): apply "+
		"config/admission of the manager's version", j.Version)
	if len(intact) == len(shipped().policies) {
		out.ok("all %d ValidatingAdmissionPolicies are there and deny", len(intact))
	} else {
		out.list(OK, "", intact, "ValidatingAdmissionPolicies that are there and deny")
	}
	if name := j.Account().Name; name != managerName {
		out.fail(seeRights, "the account of the manager is called %s: the policies cairn-manager-* limit only "+
			"accounts "+
			"called %s", name, managerName)
	}
	return out
}

// binds reports whether a policy has a binding that denies everywhere, as the shipped one does, and says what is wrong
// otherwise. It is enough that one of several does.
func (j *judge) binds(out *Section, policy string, have []*admissionv1.ValidatingAdmissionPolicyBinding) bool {
	want := shipped().bindings[policy]
	name := j.installed(policy)
	if len(have) == 0 {
		out.fail(seeOrders, "ValidatingAdmissionPolicy %s has no binding, so it denies nothing: apply config/admission",
			name)
		return false
	}
	var wrong []func()
	for _, b := range have {
		switch {
		case !slices.Contains(b.Spec.ValidationActions, admissionv1.Deny):
			wrong = append(wrong, func() {
				out.fail(seeOrders, "ValidatingAdmissionPolicyBinding %s does not deny: its validationActions lack "+
					"Deny",
					b.Name)
			})
		case b.Spec.MatchResources != nil &&
			!equality.Semantic.DeepEqual(b.Spec.MatchResources, want.Spec.MatchResources):
			wrong = append(wrong, func() {
				out.fail(seeOrders, "ValidatingAdmissionPolicyBinding %s leaves requests out by its "+
					"matchResources", b.Name)
			})
		case want.Spec.ParamRef != nil && !j.knowsTheManager(b.Spec.ParamRef):
			wrong = append(wrong, func() {
				out.fail(seeOrders, "ValidatingAdmissionPolicyBinding %s takes another account for that of the "+
					"manager: "+
					"its paramRef must name %s", b.Name, j.Account())
			})
		default:
			return true
		}
	}
	for _, say := range wrong {
		say()
	}
	return false
}

// knowsTheManager reports whether a parameter is the account of the manager.
func (j *judge) knowsTheManager(ref *admissionv1.ParamRef) bool {
	account := j.Account()
	return ref != nil && ref.Selector == nil && ref.Name == account.Name && ref.Namespace == account.Namespace
}

// samePolicy compares policies after the defaults that the API server sets.
func samePolicy(a, b admissionv1.ValidatingAdmissionPolicySpec) bool {
	return equality.Semantic.DeepEqual(withDefaults(a), withDefaults(b))
}

func withDefaults(spec admissionv1.ValidatingAdmissionPolicySpec) admissionv1.ValidatingAdmissionPolicySpec {
	spec = *spec.DeepCopy()
	if spec.FailurePolicy == nil {
		spec.FailurePolicy = new(admissionv1.Fail)
	}
	m := spec.MatchConstraints
	if m == nil {
		return spec
	}
	if m.MatchPolicy == nil {
		m.MatchPolicy = new(admissionv1.Equivalent)
	}
	if m.NamespaceSelector == nil {
		m.NamespaceSelector = &metav1.LabelSelector{}
	}
	if m.ObjectSelector == nil {
		m.ObjectSelector = &metav1.LabelSelector{}
	}
	for _, rules := range [][]admissionv1.NamedRuleWithOperations{m.ResourceRules, m.ExcludeResourceRules} {
		for i := range rules {
			if rules[i].Scope == nil {
				rules[i].Scope = new(admissionv1.AllScopes)
			}
		}
	}
	return spec
}
