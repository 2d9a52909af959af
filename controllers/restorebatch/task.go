package restorebatch

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/database"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/restore"
)

// task returns what the RestoreSession of a target would find wrong with its Addon, its task and their parameters. What
// only a running database tells is left to the RestoreSession, which waits for it.
func (d *data) task(ctx context.Context, t *v1alpha1.RestoreBatchTarget, s *v1alpha1.Snapshot) (obstacle, error) {
	info := catalog.AddonOfRestore(t.Target, t.Addon)
	if info.Name == "" {
		of, err := read.DatabaseTypeOf(ctx, d.APIReader, d.batch.Namespace, *t.Target)
		if err != nil || !of.Found {
			return obstacle{}, err
		}
		var refusal *v1alpha1.ResolvedError
		info.Name, refusal = catalog.AddonOf(*t.Target, func() catalog.DatabaseInfo { return of })
		if refusal != nil {
			return obstacle{refusal: refusal}, nil
		}
	}
	if refusal := restore.DumpRefusal(s, t.Target, t.Addon); refusal != nil {
		return obstacle{refusal: refusal}, nil
	}
	vars := catalog.PlaceholdersOfRestore(t.Target)
	vars.MoverImage, vars.Namespace, vars.Snapshot, vars.Confirm = d.MoverImage, d.batch.Namespace, s.Name, t.Confirm
	vars.RestoreSession = policy.RestoreSessionName(d.batch.Name, t.Name)
	streams, refusal, err := d.resolve(ctx, t, s, info, vars)
	if refusal == nil && err == nil && t.Target != nil && t.Target.Kind == v1alpha1.KindService {
		return d.databaseSecret(ctx, t, streams)
	}
	found := obstacle{refusal: refusal}
	if refusal != nil &&
		(refusal.Reason == v1alpha1.ReasonAddonNotFound || refusal.Reason == v1alpha1.ReasonFunctionNotFound) {
		found.wait = run.WaitForChild // a GitOps tool can have applied it at the same moment
	}
	return found, err
}

// databaseSecret refuses a Service without a Secret for its database: the mover would find out that it is not there.
// The Secret may be missing where no program needs a key of it, as that of a Redis without a password.
func (d *data) databaseSecret(
	ctx context.Context, t *v1alpha1.RestoreBatchTarget, streams []catalog.ComponentStream,
) (obstacle, error) {
	name := catalog.RestoreParams(t.Addon)[catalog.ParamSecretName]
	if name == "" {
		return obstacle{refusal: read.NoSecret(*t.Target)}, nil
	}
	if !slices.ContainsFunc(streams, needsKey) {
		return obstacle{}, nil
	}
	secret := &metav1.PartialObjectMetadata{}
	secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	key := client.ObjectKey{Namespace: d.batch.Namespace, Name: name}
	err := d.APIReader.Get(ctx, key, secret)
	if !apierrors.IsNotFound(err) {
		return obstacle{}, client.IgnoreNotFound(err)
	}
	return obstacle{wait: run.WaitForChild, refusal: &v1alpha1.ResolvedError{
		Reason:  v1alpha1.ReasonDatabaseSecretNotAvailable,
		Message: fmt.Sprintf("there is no Secret %s, which the parameter %s names", key, catalog.ParamSecretName),
	}}, nil
}

// needsKey reports whether the program of a stream does not run without some key of the Secret.
func needsKey(s catalog.ComponentStream) bool {
	return slices.ContainsFunc(s.Stream.Env, func(e v1alpha1.StreamEnv) bool {
		return e.SecretKey != "" && e.IfKey == ""
	}) || slices.ContainsFunc(s.Stream.Files, func(f v1alpha1.StreamFile) bool {
		return f.IfKey == "" && strings.Contains(f.Content, "$(")
	})
}

// resolve resolves the task of a target, as its RestoreSession does. It returns the programs of a database's
// components.
func (d *data) resolve(
	ctx context.Context, t *v1alpha1.RestoreBatchTarget, s *v1alpha1.Snapshot, info v1alpha1.AddonInfo,
	vars catalog.Variables,
) ([]catalog.ComponentStream, *v1alpha1.ResolvedError, error) {
	from := read.FallbackReader{Reader: d.Client, Live: d.APIReader}
	if t.Target == nil || !t.Target.IsDatabase() || len(info.Tasks) != 1 {
		_, _, refusal, err := read.RestoreTask(ctx, from, info, vars)
		return nil, refusal, err
	}
	components, refusal := restore.ChooseComponents(s, t.Components)
	if refusal != nil {
		return nil, refusal, nil
	}
	unreached := &read.Database{
		Binding: database.Binding{Database: vars.TargetDatabase},
		Location: database.Location{
			Host: vars.TargetHost, Port: vars.TargetPort, Image: vars.TargetImage, Version: vars.DatabaseVersion,
		},
	}
	_, streams, refusal, err := read.DatabaseTask(ctx, from, info, true, vars, unreached, components)
	return streams, refusal, err
}
