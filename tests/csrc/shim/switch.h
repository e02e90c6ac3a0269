// Going from one stack to another. On x86-64 by a call and a return of our own, which processors
// predict, as all threads of a kernel come from the same place; elsewhere by what C has for it.
#pragma once

#include <cstddef>

#if defined(__x86_64__) && !defined(SHIM_PORTABLE)

struct Context {
    void* stack = nullptr;  // its top, where the registers that a call preserves were put
};

extern "C" void shim_switch(Context* from, const Context* to);
asm(R"(
    .text
    .hidden shim_switch
    .globl shim_switch
    .type shim_switch, @function
shim_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq (%rsi), %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size shim_switch, . - shim_switch
)");

// The first switch to the context calls `entry` on the stack that ends at `end`.
inline void prepare(Context& context, char*, char* end, void (*entry)()) {
    void** top = reinterpret_cast<void**>(end) - 8;
    for (int i = 0; i < 6; ++i) top[i] = nullptr;  // the registers
    top[6] = reinterpret_cast<void*>(entry);       // where it returns to
    top[7] = nullptr;                              // entry itself returns to nowhere
    context.stack = top;
}

inline void switch_context(Context& from, const Context& to) { shim_switch(&from, &to); }

#else

#include <csetjmp>

#include <ucontext.h>

struct Context {
    jmp_buf place;
};

inline void switch_context(Context& from, Context& to) {
    if (_setjmp(from.place) == 0) _longjmp(to.place, 1);
}

inline void prepare(Context& context, char* begin, char* end, void (*entry)()) {
    // It is entered once, only to keep its place and come back.
    static ucontext_t here, there;
    static Context* prepared;
    static void (*to_call)();
    prepared = &context, to_call = entry;
    getcontext(&there);
    there.uc_stack.ss_sp = begin;
    there.uc_stack.ss_size = size_t(end - begin);
    there.uc_link = nullptr;
    makecontext(&there, [] {
        void (*const call)() = to_call;
        if (_setjmp(prepared->place) == 0) setcontext(&here);
        call();
    }, 0);
    swapcontext(&here, &there);
}

#endif
