package lint

import (
	"fmt"
	"strings"
)

const ours = "github.com/cairn-backup/cairn"

// targets are the packages of ours that planted files import. They are empty.
var targets = []string{
	"api/target", "cmd/target", "controllers/target", "internal/cli", "internal/cli/target", "internal/kube",
	"internal/kube/target", "internal/kubetarget", "internal/mover", "internal/mover/target", "internal/target",
	"internal/testbed", "internal/testbed/target",
}

// others are packages of other modules that planted files import, each with a version. They are empty but for the
// declarations that contents holds.
var others = map[string]string{
	"github.com/fluxcd/pkg/apis/meta":           "v1.0.0",
	"github.com/go-git/go-git/v5":               "v5.0.0",
	"github.com/kopia/kopia/repo":               "v0.1.0",
	"github.com/onsi/gomega":                    "v1.0.0",
	"github.com/robfig/cron/v3":                 "v3.0.0",
	"k8s.io/api/core":                           "v0.1.0",
	"k8s.io/client-go/rest":                     "v0.1.0",
	"sigs.k8s.io/controller-runtime/pkg/client": "v0.1.0",
	"sigs.k8s.io/kustomize/api/krusty":          "v0.1.0",
}

// contents are the declarations in packages of other modules.
var contents = map[string]string{
	"k8s.io/client-go/rest": `
// Pods writes.
type Pods interface {
	UpdateStatus() error
	ApplyStatus() error
}
`,
	"sigs.k8s.io/controller-runtime/pkg/client": `
// SubResourceWriter writes.
type SubResourceWriter interface{ Patch() error }

// SubResourceClient writes.
type SubResourceClient interface{ Update() error }

// Client writes.
type Client interface {
	Status() SubResourceWriter
	SubResource(name string) SubResourceClient
}
`,
}

// plantedImports are imports against the direction of the arrows, and imports with it.
func plantedImports() []planted {
	const (
		client     = "sigs.k8s.io/controller-runtime/pkg/client"
		clientGo   = "k8s.io/client-go/rest"
		kubernetes = "k8s.io/api/core"
	)
	var out []planted
	for i, a := range []struct{ list, deny, from, to string }{
		{"api", "", "api/v1alpha1", ours + "/internal/target"},
		{"api", "", "api/v1alpha1", client},
		{"gitstore", ours, "internal/gitstore", ours + "/internal/target"},
		{"gitstore", "k8s.io", "internal/gitstore", kubernetes},
		{"gitstore", "sigs.k8s.io", "internal/gitstore", client},
		{"pure", "sigs.k8s.io/controller-runtime", "internal/schedule", client},
		{"pure", "k8s.io/client-go", "internal/schedule", clientGo},
		{"pure", ours + "/internal/kube", "internal/schedule", ours + "/internal/kube"},
		{"pure", ours + "/internal/kube/", "internal/schedule", ours + "/internal/kube/target"},
		{"controllers", "github.com/robfig/cron", "controllers/ledger", "github.com/robfig/cron/v3"},
		{"controllers", "github.com/go-git/go-git", "controllers/ledger", "github.com/go-git/go-git/v5"},
		{"controllers", "github.com/kopia", "controllers/ledger", "github.com/kopia/kopia/repo"},
		{"controllers", "sigs.k8s.io/kustomize", "controllers/ledger", "sigs.k8s.io/kustomize/api/krusty"},
		{"programs", ours + "/internal/cli", "controllers/ledger", ours + "/internal/cli"},
		{"programs", ours + "/internal/cli/", "internal/kube/read", ours + "/internal/cli/target"},
		{"programs", ours + "/internal/mover", "internal/kube/read", ours + "/internal/mover"},
		{"programs", ours + "/internal/mover/", "internal/schedule", ours + "/internal/mover/target"},
		{"cli", ours + "/internal/kube", "internal/cli/command", ours + "/internal/kube"},
		{"cli", ours + "/internal/kube/", "internal/cli/command", ours + "/internal/kube/target"},
		{"cli", ours + "/internal/mover", "internal/cli/command", ours + "/internal/mover"},
		{"cli", ours + "/internal/mover/", "internal/cli/command", ours + "/internal/mover/target"},
		{"mover", ours + "/internal/kube", "internal/mover/agent", ours + "/internal/kube"},
		{"mover", ours + "/internal/kube/", "internal/mover/agent", ours + "/internal/kube/target"},
		{"mover", ours + "/internal/cli", "internal/mover/agent", ours + "/internal/cli"},
		{"mover", ours + "/internal/cli/", "internal/mover/agent", ours + "/internal/cli/target"},
		{"testbed", ours + "/internal/testbed", "cmd/manager", ours + "/internal/testbed/target"},
		{"testbed", ours + "/internal/testbed", "internal/schedule", ours + "/internal/testbed"},
		{"downwards", ours + "/controllers", "internal/kube/read", ours + "/controllers/target"},
		{"downwards", ours + "/cmd", "internal/kube/read", ours + "/cmd/target"},
		{"", "", "api/v1alpha1", kubernetes},
		{"", "", "api/v1alpha1", "github.com/fluxcd/pkg/apis/meta"},
		{"", "", "internal/schedule", "github.com/robfig/cron/v3"},
		{"", "", "internal/schedule", ours + "/internal/kubetarget"},
		{"", "", "internal/gitstore", "github.com/go-git/go-git/v5"},
		{"", "", "internal/kube/read", client},
		{"", "", "internal/cli/command", ours + "/internal/cli/target"},
		{"", "", "internal/mover/agent", ours + "/internal/mover/target"},
		{"", "", "internal/testbed/csi", ours + "/internal/mover/target"},
		{"", "", "internal/testbed/csi", ours + "/internal/testbed/target"},
		{"", "", "internal/testbed/csi", ours + "/internal/kube/target"},
		{"", "", "cmd/cairn", ours + "/internal/cli/target"},
		{"", "", "controllers/ledger", client},
		{"", "", "controllers/ledger", ours + "/internal/target"},
		{"", "", "cmd/manager", ours + "/controllers/target"},
	} {
		rule := ""
		if a.list != "" {
			rule = strings.TrimSuffix("depguard/"+a.list+"/"+a.deny, "/")
			if strings.HasSuffix(a.deny, "/") {
				rule += "/"
			}
		}
		out = append(out, planted{
			rule: rule,
			file: fmt.Sprintf("%s/arrow%d/arrow.go", a.from, i),
			at:   a.to,
			source: fmt.Sprintf("// Package arrow imports.\npackage arrow\n\nimport (\n\ttarget %q\n)\n\n"+
				"// Zero is here for the import.\nvar Zero target.Zero\n", a.to),
		})
	}
	return out
}
