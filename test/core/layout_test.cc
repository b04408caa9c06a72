// The placement algebra, row by row of its tables.
#include "core/layout.h"

#include <doctest/doctest.h>

using namespace sbcnn;

namespace {

Layout root(int n) {
  return {{counting(0, n), {}, {}}, false};
}
Layout replicated(int n) {
  return {{counting(0, n), counting(0, n), counting(0, n)}, false};
}
Layout split3(int n) {
  return {{counting(0, n / 3), counting(n / 3, 2 * n / 3), counting(2 * n / 3, n)}, false};
}
Layout partial(int n) {
  Layout l = replicated(n);
  l.partial = true;
  return l;
}

}  // namespace

TEST_CASE("placements are told apart") {
  CHECK(placement_of(root(6)) == Placement::root);
  CHECK(placement_of(replicated(6)) == Placement::replicated);
  CHECK(placement_of(split3(6)) == Placement::channels);
  CHECK(placement_of(partial(6)) == Placement::partial);
  CHECK(placement_of({{{}, counting(0, 6), {}}, false}) == Placement::channels);
  CHECK(placement_of({{{0, 1}, {1, 0}}, false}) == Placement::replicated);
}

TEST_CASE("the collective between two placements is the table's") {
  const int n = 6;
  CHECK(classify(root(n), replicated(n)) == Collective::broadcast);
  CHECK(classify(root(n), split3(n)) == Collective::scatter);
  CHECK(classify(split3(n), replicated(n)) == Collective::allgather);
  CHECK(classify(split3(n), root(n)) == Collective::gather);
  CHECK(classify(split3(n), {{{0, 2}, {4, 1}, {3, 5}}, false}) == Collective::alltoall);
  CHECK(classify(replicated(n), split3(n)) == Collective::local);
  CHECK(classify(split3(n), {{{1, 0}, {2, 3}, {5, 4}}, false}) == Collective::local);
  CHECK(classify(partial(n), root(n)) == Collective::reduce);
  CHECK(classify(partial(n), replicated(n)) == Collective::allreduce);
  CHECK(classify(partial(n), split3(n)) == Collective::reduce_scatter);
}

TEST_CASE("a need is met by blocks in any inner order, an exact one only to the letter") {
  const Layout have{{{2, 0, 1, 3}, {4, 5}}, false};
  CHECK(satisfies(have, {{{{0, 1, 2}}, {{5, 4}}}, false}));
  CHECK(satisfies(have, {{{{3}}, {}}, false}));
  CHECK_FALSE(satisfies(have, {{{{2, 3}}, {}}, false}));  // not contiguous
  CHECK_FALSE(satisfies(have, {{{{4}}, {}}, false}));     // not here
  CHECK(satisfies(have, Need::exactly(have)));
  CHECK_FALSE(satisfies(have, {{{{0, 1, 2, 3}}, {{4, 5}}}, true}));
  CHECK_FALSE(satisfies(partial(3), Need::exactly(partial(3))));  // addends are no values
}

TEST_CASE("what arrives stands in the order of its providers") {
  const Layout have{{{0, 4, 8}, {1, 5, 9}}, false};
  const Need need{{{{0, 1, 4, 5}}, {{8, 9}}}, false};
  CHECK(arrange(have, need, 10).held == std::vector<Channels>{{0, 4, 1, 5}, {8, 9}});
  // What a rank has itself comes from itself.
  const Layout all{{counting(0, 4), counting(0, 4)}, false};
  CHECK(arrange(all, {{{{0, 1}}, {{2, 3}}}, false}, 4).held ==
        std::vector<Channels>{{0, 1}, {2, 3}});
}

TEST_CASE("whole groups are recognised whatever their inner order") {
  CHECK(cut_into_blocks({5, 4, 7, 6, 0, 1, 2, 3}, 4) == std::vector<int>{1, 0});
  CHECK_FALSE(cut_into_blocks({0, 1, 2, 4}, 4).has_value());
  CHECK_FALSE(cut_into_blocks({0, 1, 2}, 2).has_value());
  CHECK(cut_into_blocks({}, 4)->empty());
  CHECK(is_grouped({0, 1, 5, 4, 8}, 4));
  CHECK_FALSE(is_grouped({0, 5, 1}, 4));
}

TEST_CASE("units are shared out so that the slowest rank ends first") {
  CHECK(apportion(4, {1, 1, 1}) == std::vector<int>{2, 1, 1});
  CHECK(apportion(4, {2, 1, 1}) == std::vector<int>{2, 1, 1});
  CHECK(apportion(4, {2, 2, 1}) == std::vector<int>{2, 1, 1});  // as fast as 2, 2, 0
  CHECK(apportion(4, {1, 3}) == std::vector<int>{1, 3});
  CHECK(apportion(4, {1, 1, 1, 1, 1}) == std::vector<int>{1, 1, 1, 1, 0});
  CHECK(apportion(8, {0, 1000, 1500}) == std::vector<int>{0, 3, 5});
  CHECK(apportion(0, {1, 1}) == std::vector<int>{0, 0});
}
