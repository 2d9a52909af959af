package read

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// LastEvent returns the message of the newest event about a claim, or "". It reads past the cache, which holds no
// events. fields are those that the event must have beside the claim's UID, such as its type or its reason.
func LastEvent(
	ctx context.Context, live client.Reader, claim *corev1.PersistentVolumeClaim, fields client.MatchingFields,
) (string, error) {
	about := client.MatchingFields{"involvedObject.uid": string(claim.UID)}
	for name, value := range fields {
		about[name] = value
	}
	var events corev1.EventList
	if err := live.List(ctx, &events, client.InNamespace(claim.Namespace), about); err != nil {
		return "", fmt.Errorf("list events about PersistentVolumeClaim %s: %w", claim.Name, err)
	}
	if len(events.Items) == 0 {
		return "", nil
	}
	last := slices.MaxFunc(events.Items, func(a, b corev1.Event) int {
		return a.LastTimestamp.Compare(b.LastTimestamp.Time)
	})
	return last.Message, nil
}
