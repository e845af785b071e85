package main

import (
	"maps"
	"slices"
	"testing"
)

// places are so many partitions of one topic.
func places(count int32) (all []Place) {
	for at := range count {
		all = append(all, Place{"t", at})
	}
	return all
}

// checkShares wants these shares of seven partitions, by members who keep some.
func checkShares(t *testing.T, kept, want map[string][]Place) {
	t.Helper()
	got := shareOut(places(7), kept)
	if !maps.EqualFunc(got, want, slices.Equal[[]Place]) {
		t.Fatalf("want %v, got %v", want, got)
	}
}

func TestPartitionsThatNobodyKeepsAreSharedEvenly(t *testing.T) {
	all := places(7)
	checkShares(t, map[string][]Place{"a": nil, "b": nil}, map[string][]Place{
		"a": {all[0], all[2], all[4], all[6]}, "b": {all[1], all[3], all[5]},
	})
}

func TestAPartitionThatIsToMoveIsNobodysForAGeneration(t *testing.T) {
	all := places(7)
	checkShares(t, map[string][]Place{"a": all, "b": nil}, map[string][]Place{"a": all[:4]})
	checkShares(t, map[string][]Place{"a": all[:4], "b": nil}, map[string][]Place{"a": all[:4], "b": all[4:]})
}

func TestASubscriptionSaysWhatIsKept(t *testing.T) {
	got, err := ownedIn(subscription([]string{"t", "s"}, places(3)))
	if err != nil || !slices.Equal(got, places(3)) {
		t.Fatalf("%v, %v", got, err)
	}
	if got, err = assigned(assignment(places(2))); err != nil || !slices.Equal(got, places(2)) {
		t.Fatalf("%v, %v", got, err)
	}
}
