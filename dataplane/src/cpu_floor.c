/* SPDX-License-Identifier: Apache-2.0
 *
 * Everything else is compiled for a CPU level chosen at build (x86-64-v3 if nothing else is said) and may begin with an instruction
 * that an older CPU does not know. This runs first, is compiled for any 64-bit x86, and ends the process with a sentence
 * instead. It is C because a constructor in Rust would be compiled for the higher level like everything else.
 */
#include <unistd.h>

static void refuse(const char *sentence, unsigned long length)
{
	if (write(2, sentence, length) < 0)
		_exit(70); /* EX_SOFTWARE of sysexits.h */
	_exit(69);         /* EX_UNAVAILABLE */
}

#define SENTENCE(name)                                                          \
	"weirgate: this binary was built for a newer CPU; this one has no " name \
	". Build it here: RUSTFLAGS='-C target-cpu=native' cargo build --release\n"
#define REQUIRE(feature, name)                         \
	if (!__builtin_cpu_supports(feature))          \
		refuse(SENTENCE(name), sizeof(SENTENCE(name)) - 1);

__attribute__((constructor(101))) static void check_cpu_floor(void)
{
	(void)refuse;
	__builtin_cpu_init();
#ifdef NEEDS_SSE4_2
	REQUIRE("sse4.2", "SSE4.2")
#endif
#ifdef NEEDS_POPCNT
	REQUIRE("popcnt", "POPCNT")
#endif
#ifdef NEEDS_AVX2
	REQUIRE("avx2", "AVX2")
#endif
#ifdef NEEDS_BMI2
	REQUIRE("bmi2", "BMI2")
#endif
#ifdef NEEDS_BMI
	REQUIRE("bmi", "BMI")
#endif
#ifdef NEEDS_LZCNT
	REQUIRE("lzcnt", "LZCNT")
#endif
#ifdef NEEDS_MOVBE
	REQUIRE("movbe", "MOVBE")
#endif
#ifdef NEEDS_F16C
	REQUIRE("f16c", "F16C")
#endif
#ifdef NEEDS_AVX512BW
	REQUIRE("avx512bw", "AVX512BW")
#endif
#ifdef NEEDS_AVX512DQ
	REQUIRE("avx512dq", "AVX512DQ")
#endif
#ifdef NEEDS_AVX512CD
	REQUIRE("avx512cd", "AVX512CD")
#endif
#ifdef NEEDS_FMA
	REQUIRE("fma", "FMA")
#endif
#ifdef NEEDS_AVX512F
	REQUIRE("avx512f", "AVX512F")
#endif
#ifdef NEEDS_AVX512VL
	REQUIRE("avx512vl", "AVX512VL")
#endif
}
