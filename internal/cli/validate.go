package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/build"
	"github.com/cairn-backup/cairn/internal/policy"
)

const validateText = `Check policy as a PolicySync would, without a cluster and without the network.

PATH is a directory or one file. A directory with a kustomization is built with kustomize; else all .yaml and .yml files
in it and below are read. Each PATH is what one PolicySync applies; references from one to another are followed. Nothing
may lead out of the Git working copy that holds PATH, or out of PATH where there is none.

What only a cluster can tell is a warning. A file of --known tells some of it, for example what
kubectl get volumesnapshotclasses -o yaml says: that a session keeps VolumeSnapshots of a class that deletes their data is then a warning. Each finding is <file>:<line>: document <n>: <field>: <message>.`

func newValidate(o Options) *cobra.Command {
	var opts validateOptions
	cmd := &cobra.Command{
		Use:   "validate PATH...",
		Short: "Check policy files, without a cluster",
		Long:  validateText,
		Args:  argsBetween(1, -1, "PATH..."),
		RunE: func(cmd *cobra.Command, args []string) error {
			return validate(cmd.Context(), o, opts, args)
		},
	}
	cmd.Flags().StringVarP(&opts.namespace, "namespace", "n", "", "namespace of the PolicySync, and of objects that name none (default: the one that the objects name)")
	cmd.Flags().BoolVar(&opts.serviceAccount, "service-account", false, "allow what a PolicySync with spec.serviceAccountName may apply: further kinds, other namespaces")
	cmd.Flags().StringArrayVar(&opts.known, "known", nil, "a file with manifests of what the cluster has, such as its VolumeSnapshotClasses: policy may refer to them, and they are not checked")
	_ = cmd.RegisterFlagCompletionFunc("namespace", cobra.NoFileCompletions)
	return cmd
}

type validateOptions struct {
	namespace      string
	serviceAccount bool
	known          []string
}

// validate prints what is wrong with the paths, and a summary.
func validate(ctx context.Context, o Options, opts validateOptions, args []string) error {
	lookup, err := catalog(opts.known...)
	if err != nil {
		return err
	}
	var objects []build.Object
	var findings []policy.Finding
	for _, arg := range args {
		p, err := locate(arg)
		if err != nil {
			findings = append(findings, policy.Finding{Severity: policy.SeverityError, File: arg, Message: err.Error()})
			continue
		}
		built, err := p.build(ctx, opts, lookup)
		var invalid *build.Error
		if errors.As(err, &invalid) {
			findings = append(findings, p.shown(invalid.Findings)...)
		} else if err != nil {
			return err
		} else {
			objects = append(objects, p.shownObjects(built)...)
		}
	}
	if len(findings) == 0 {
		findings = append(twice(objects), across(objects, opts, lookup)...)
	}
	slices.SortStableFunc(findings, func(a, b policy.Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Document, b.Document), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Field, b.Field))
	})
	return report(o, slices.Compact(findings), objects)
}

// across checks all objects as one set, so that one path may refer to another.
func across(objects []build.Object, opts validateOptions, lookup policy.Lookup) []policy.Finding {
	set := make([]policy.Object, len(objects))
	for i, x := range objects {
		set[i] = policy.Object{Unstructured: x.Unstructured, File: x.File, Document: x.Document, LineOf: x.Line}
	}
	return policy.CheckObjects(set, opts.namespace, lookup)
}

// twice finds objects that are in two of the paths: two PolicySyncs can't both own one. Inside one path it was checked.
func twice(objects []build.Object) []policy.Finding {
	var out []policy.Finding
	first := map[string]build.Object{}
	for _, x := range objects {
		u := x.Unstructured
		id := strings.Join([]string{u.GroupVersionKind().GroupKind().String(), u.GetNamespace(), u.GetName()}, "/")
		if other, ok := first[id]; ok {
			out = append(out, policy.Finding{
				Severity: policy.SeverityError, Reason: v1alpha1.ReasonValidationFailed, File: x.File, Document: x.Document,
				Line: x.Line("metadata.name"), Field: "metadata.name",
				Message: fmt.Sprintf("%s %s is in %s too: leave it in one of them", u.GetKind(), u.GetName(), other.File),
			})
			continue
		}
		first[id] = x
	}
	return out
}

// report prints findings and summary. Errors end the program with ExitError.
func report(o Options, findings []policy.Finding, objects []build.Object) error {
	wrong := 0
	for _, f := range findings {
		prefix := ""
		if f.Severity == policy.SeverityError {
			wrong++
		} else {
			prefix = "warning: "
		}
		fmt.Fprintln(o.Out, prefix+oneLine(build.Format(f)))
	}
	warnings := ""
	if n := len(findings) - wrong; n > 0 {
		warnings = ", " + count(n, "warning")
	}
	if wrong > 0 {
		fmt.Fprintln(o.Out, count(wrong, "error")+warnings)
		return &exitError{code: ExitError}
	}
	files := map[string]bool{}
	for _, x := range objects {
		files[x.File] = true
	}
	verb := "are"
	if len(objects) == 1 {
		verb = "is"
	}
	fmt.Fprintf(o.Out, "%s in %s %s valid%s\n", count(len(objects), "object"), count(len(files), "file"), verb, warnings)
	return nil
}
