package doctor

import (
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/inventory"
	"github.com/cairn-backup/cairn/internal/ledger"
)

// policy tells what in policy deviates from docs/security.md, or leaves out what it advises.
func (j *judge) policy() Section {
	out := Section{Name: "Policy"}
	j.storages(&out)
	j.syncs(&out)
	j.ledgers(&out)
	j.functions(&out)
	j.movers(&out)
	if len(out.Findings) == 0 && j.read("backupstorages", "policysyncs", "ledgers", "functions", "namespaces",
		"networkpolicies", "backupconfigurations", "backupbatches") {
		out.ok("nothing deviates")
	}
	return out
}

// keysOf returns the Secret with the key of a storage, and whether it is sent over a connection that anybody on the way
// can read.
func keysOf(s *v1alpha1.Storage) (secret string, plain bool) {
	switch {
	case s.S3 != nil:
		return s.S3.SecretName, strings.HasPrefix(s.S3.Endpoint, "http://")
	case s.GCS != nil:
		return s.GCS.SecretName, false
	case s.Azure != nil:
		return s.Azure.SecretName, false
	case s.SFTP != nil:
		return s.SFTP.SecretName, false
	case s.WebDAV != nil:
		return s.WebDAV.SecretName, strings.HasPrefix(s.WebDAV.URL, "http://")
	}
	return "", false
}

// storages tells whose keys can delete, and to whom they go.
func (j *judge) storages(out *Section) {
	var insecure, plain, same, alone, identity []string
	for i := range j.Storages {
		s := &j.Storages[i]
		name := s.Namespace + "/" + s.Name
		secret, open := keysOf(&s.Spec.Storage)
		if s3 := s.Spec.Storage.S3; s3 != nil && s3.InsecureTLS {
			insecure = append(insecure, name)
		}
		switch {
		case s.Spec.Storage.Provider == v1alpha1.ProviderLocal:
			continue
		case secret == "":
			identity = append(identity, name)
			continue
		case s.Spec.MaintenanceSecretName == secret:
			same = append(same, name)
		case s.Spec.MaintenanceSecretName == "":
			alone = append(alone, name)
		}
		if open {
			plain = append(plain, name)
		}
	}
	out.list(Fail, seeWho, insecure, "BackupStorages with insecureTLS, which give their keys to any server on the way")
	out.list(Warn, seeWho, plain, "BackupStorages over http://: whoever is on the way reads what they send")
	out.list(Fail, seeLeft, same, "BackupStorages whose maintenanceSecretName is the Secret of the movers: it "+
		"separates "+
		"nothing")
	out.list(Warn, seeLeft, alone, "BackupStorages without maintenanceSecretName: the key of each mover can delete "+
		"what "+
		"the key of maintenance can")
	out.list(OK, "", identity, "BackupStorages without a Secret, which take the identity of the cloud")
}

// syncs tells who decides what PolicySyncs apply, and where.
func (j *judge) syncs(out *Section) {
	var unsigned, accounts, at, into, plain, unknown []string
	for i := range j.PolicySyncs {
		p := &j.PolicySyncs[i]
		name := p.Namespace + "/" + p.Name
		if p.Spec.Verify == nil {
			unsigned = append(unsigned, name)
		}
		if a := p.Spec.ServiceAccountName; a != "" && a != v1alpha1.PolicyServiceAccount {
			accounts = append(accounts, name+" ("+a+")")
		}
		if strings.HasPrefix(p.Spec.URL, "http://") && p.Spec.Verify == nil {
			plain = append(plain, name)
		}
		applied, err := j.administered(p)
		switch {
		case j.flags.Administrators.Has(p.Namespace):
			at = append(at, name)
		case err != nil:
			unknown = append(unknown, name)
		case len(applied) > 0:
			into = append(into, name+" ("+strings.Join(applied, ", ")+")")
		}
	}
	out.list(OK, "", unsigned, "PolicySyncs without spec.verify: whoever can push to their branch decides")
	out.list(Warn, seeSignature, plain, "PolicySyncs over http:// without spec.verify: whoever is on the way decides")
	out.list(Warn, seeGit, accounts, "PolicySyncs with another account than %s", v1alpha1.PolicyServiceAccount)
	out.list(Warn, seeGit, at, "PolicySyncs in namespaces of the administrators: whoever can merge into their paths "+
		"has "+
		"rights over the backups of all namespaces")
	out.list(Warn, seeGit, into, "PolicySyncs of other namespaces that apply into namespaces of the administrators")
	out.list(Fail, seeGit, unknown, "PolicySyncs whose inventory can't be read: where they apply is not known")
}

// administered returns the administrators' namespaces into which a PolicySync has applied something.
func (j *judge) administered(p *v1alpha1.PolicySync) ([]string, error) {
	if p.Status.Inventory == nil {
		return nil, nil
	}
	entries, err := inventory.Entries(p.Status.Inventory)
	var out []string
	for _, e := range entries {
		namespace, _, _ := strings.Cut(e.ID, "_")
		if j.flags.Administrators.Has(namespace) && !slices.Contains(out, namespace) {
			out = append(out, namespace)
		}
	}
	return out, err
}

// ledgers tells which Ledgers are not served, and which select more than they may record.
func (j *judge) ledgers(out *Section) {
	surplus := ledger.Surplus(j.Ledgers, j.flags.Administrators.Has)
	var over, unreadable []string
	for i := range j.Ledgers {
		l := &j.Ledgers[i]
		if !v1alpha1.InForce(l) {
			continue
		}
		name := l.Namespace + "/" + l.Name
		if surplus[l.UID] {
			over = append(over, name)
		}
		scope, err := ledger.ScopeOf(l, j.flags.Administrators.Has(l.Namespace))
		if err != nil {
			unreadable = append(unreadable, name)
			continue
		}
		var lack, records []string
		for _, n := range j.Namespaces {
			switch {
			case scope.Records(n.Name, n.Labels):
				if n.Name != l.Namespace {
					records = append(records, n.Name)
				}
			case scope.Selects(n.Name, n.Labels):
				lack = append(lack, n.Name)
			}
		}
		out.list(OK, "", records, "%s records beside its own "+
			"namespace", named(v1alpha1.LedgerKind, l.Namespace, l.Name))
		out.list(Warn, seeLedgers, lack, "%s selects namespaces that have not consented (label %s), and does not "+
			"record "+
			"them", named(v1alpha1.LedgerKind, l.Namespace, l.Name), v1alpha1.RecordedByLabel(l.Namespace))
	}
	out.list(Fail, seeLedgers, over, "Ledgers beyond the %d of a namespace that are served", ledger.MaxPerNamespace)
	out.list(Fail, seeLedgers, unreadable, "Ledgers whose namespaceSelector can't be read")
}

// functions tells whose images can change.
func (j *judge) functions(out *Section) {
	var mutable, chosen []string
	for i := range j.Functions {
		f := &j.Functions[i]
		image := f.Spec.Image
		switch {
		case image == "${moverImage}" || image == "${targetImage}" || pinned(image):
		case strings.Contains(image, "${"):
			chosen = append(chosen, f.Name+" ("+image+")")
		default:
			mutable = append(mutable, f.Name+" ("+image+")")
		}
	}
	out.list(Warn, seeForeign, mutable, "Functions whose image is not pinned by its digest: whoever can push to its "+
		"registry changes what runs")
	out.list(OK, "", chosen, "Functions whose image a policy or a target chooses: they run without keys")
}

// Guards reports whether a NetworkPolicy lets nobody connect to the movers of its namespace.
func Guards(p *networkingv1.NetworkPolicy) bool {
	selector, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
	return err == nil && len(p.Spec.Ingress) == 0 &&
		slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeIngress) &&
		selector.Matches(labels.Set{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn})
}

// movers tells where pods can connect to movers.
func (j *judge) movers(out *Section) {
	if !j.read("networkpolicies", "backupconfigurations", "backupbatches") {
		return
	}
	var bare []string
	for namespace := range j.Policies {
		if !j.Guarded[namespace] {
			bare = append(bare, namespace)
		}
	}
	out.list(Warn, seeRest, bare, "namespaces with policy and no NetworkPolicy that keeps others from movers "+
		"(policies/components/network)")
}
