# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_mscc_global_optspecs
    string join \n q/quiet v/verbose color= h/help V/version
end

function __fish_mscc_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_mscc_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_mscc_using_subcommand
    set -l cmd (__fish_mscc_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c mscc -n "__fish_mscc_needs_command" -l color -d 'Colours in messages; `auto` means on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c mscc -n "__fish_mscc_needs_command" -s q -l quiet -d 'Print results and errors alone'
complete -c mscc -n "__fish_mscc_needs_command" -s v -l verbose -d 'Also print what is done and how long it takes'
complete -c mscc -n "__fish_mscc_needs_command" -s h -l help -d 'Print help'
complete -c mscc -n "__fish_mscc_needs_command" -s V -l version -d 'Print version'
complete -c mscc -n "__fish_mscc_needs_command" -f -a "compile" -d 'Compile a model into a plan'
complete -c mscc -n "__fish_mscc_needs_command" -f -a "run" -d 'Continue a text, or answer a message'
complete -c mscc -n "__fish_mscc_needs_command" -f -a "chat" -d 'Talk with a model'
complete -c mscc -n "__fish_mscc_needs_command" -f -a "logits" -d 'Write the logits of every token of a prompt'
complete -c mscc -n "__fish_mscc_needs_command" -f -a "eval" -d 'Measure perplexity on a text'
complete -c mscc -n "__fish_mscc_needs_command" -f -a "inspect" -d 'Show what a plan holds'
complete -c mscc -n "__fish_mscc_needs_command" -f -a "explain" -d 'Say what fusion did and why'
complete -c mscc -n "__fish_mscc_needs_command" -f -a "opt" -d 'Run passes over a graph in IR text and print what comes out'
complete -c mscc -n "__fish_mscc_needs_command" -f -a "models" -d 'List the model families that can be compiled'
complete -c mscc -n "__fish_mscc_needs_command" -f -a "completions" -d 'Write completions for a shell to standard output'
complete -c mscc -n "__fish_mscc_needs_command" -f -a "man" -d 'Write a manual page to standard output'
complete -c mscc -n "__fish_mscc_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c mscc -n "__fish_mscc_using_subcommand compile" -s o -l output -d 'Where the plan is written, or the stage that is printed' -r -F
complete -c mscc -n "__fish_mscc_using_subcommand compile" -l emit -d 'Print a stage as text in place of writing the plan' -r -f -a "traced\t'The model as its author wrote it'
fused\t'The model after all passes'
lowered\t'Kernel launches and memory'"
complete -c mscc -n "__fish_mscc_using_subcommand compile" -l config-only -d 'Compile from a config alone, without weights; the plan can be inspected but not run' -r -F
complete -c mscc -n "__fish_mscc_using_subcommand compile" -l model -d 'Model directory' -r -F
complete -c mscc -n "__fish_mscc_using_subcommand compile" -l target -d 'Device the plan is for: cpu, ascend910b1 to ascend910b4, ascend910_93 or ascend310p [default: cpu]' -r
complete -c mscc -n "__fish_mscc_using_subcommand compile" -l dtype -d 'Element type of weights on the device: auto, float32 (or fp32, f32), float16 (half, fp16, f16), bfloat16 (bf16) [default: auto]' -r
complete -c mscc -n "__fish_mscc_using_subcommand compile" -l compute-dtype -d 'Element type of activations: float32 (or fp32, f32), bfloat16 (bf16, auto) [default: bfloat16]' -r
complete -c mscc -n "__fish_mscc_using_subcommand compile" -l max-model-len -d 'Longest sequence, in tokens [default: the model\'s own limit]' -r
complete -c mscc -n "__fish_mscc_using_subcommand compile" -l max-num-seqs -d 'Most sequences in a step [default: 64]' -r
complete -c mscc -n "__fish_mscc_using_subcommand compile" -l max-num-batched-tokens -d 'Most new tokens in a step [default: 2048]' -r
complete -c mscc -n "__fish_mscc_using_subcommand compile" -l block-size -d 'Tokens of a cache page [default: 16]' -r
complete -c mscc -n "__fish_mscc_using_subcommand compile" -l latent-attention -d 'Form of attention over cached latents: auto, absorbed, expanded; of one form, logits do not depend on how a prompt is cut into steps [default: auto]' -r
complete -c mscc -n "__fish_mscc_using_subcommand compile" -l tokenizer -d 'Directory with tokenizer files [default: the model\'s]' -r -F
complete -c mscc -n "__fish_mscc_using_subcommand compile" -l chat-template -d 'File with a chat template [default: the model\'s own]' -r -F
complete -c mscc -n "__fish_mscc_using_subcommand compile" -l family -d 'File that describes the model\'s family, in place of a built-in one' -r -F
complete -c mscc -n "__fish_mscc_using_subcommand compile" -l rules -d 'File with rewrite rules of your own, which are proved first; may be given several times' -r -F
complete -c mscc -n "__fish_mscc_using_subcommand compile" -l without-rule -d 'Rewrite rules that are left out, by name' -r
complete -c mscc -n "__fish_mscc_using_subcommand compile" -l stop-after-rewrite -d 'Make no more rewrites after so many, to find one that is at fault; `mscc explain` numbers them' -r
complete -c mscc -n "__fish_mscc_using_subcommand compile" -l color -d 'Colours in messages; `auto` means on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c mscc -n "__fish_mscc_using_subcommand compile" -l strict -d 'Take warnings about the model\'s files as errors: keys and tensors that nobody reads'
complete -c mscc -n "__fish_mscc_using_subcommand compile" -l json -d 'Print what was compiled as JSON'
complete -c mscc -n "__fish_mscc_using_subcommand compile" -s q -l quiet -d 'Print results and errors alone'
complete -c mscc -n "__fish_mscc_using_subcommand compile" -s v -l verbose -d 'Also print what is done and how long it takes'
complete -c mscc -n "__fish_mscc_using_subcommand compile" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mscc -n "__fish_mscc_using_subcommand run" -l weights -d 'Directory of the weights, in place of the one the plan was compiled from' -r -F
complete -c mscc -n "__fish_mscc_using_subcommand run" -l family -d 'File that describes the family of the model compiled here, in place of a built-in one' -r -F
complete -c mscc -n "__fish_mscc_using_subcommand run" -l threads -d 'Threads that compute [default: one for each core]' -r
complete -c mscc -n "__fish_mscc_using_subcommand run" -l memory-limit -d 'Most memory for caches, activations and weights that are made at the start, such as 8GiB [default: what is free]' -r
complete -c mscc -n "__fish_mscc_using_subcommand run" -l prompt -d 'The prompt as text' -r
complete -c mscc -n "__fish_mscc_using_subcommand run" -l prompt-ids -d 'The prompt as token ids, taken as they are: 1,2,3' -r
complete -c mscc -n "__fish_mscc_using_subcommand run" -l max-tokens -d 'Most tokens to generate [default: 128; in a conversation, as many as fit]' -r
complete -c mscc -n "__fish_mscc_using_subcommand run" -l stop -d 'Text that ends the generation; may be given several times' -r
complete -c mscc -n "__fish_mscc_using_subcommand run" -l temperature -d 'Divides the scores; 0 is greedy' -r
complete -c mscc -n "__fish_mscc_using_subcommand run" -l top-k -d 'Keeps the N likeliest tokens' -r
complete -c mscc -n "__fish_mscc_using_subcommand run" -l top-p -d 'Keeps the likeliest tokens that add up to X' -r
complete -c mscc -n "__fish_mscc_using_subcommand run" -l min-p -d 'Keeps tokens at least X as likely as the likeliest' -r
complete -c mscc -n "__fish_mscc_using_subcommand run" -l repetition-penalty -d 'Makes tokens already there less likely; 1 does nothing' -r
complete -c mscc -n "__fish_mscc_using_subcommand run" -l presence-penalty -d 'Subtracted from the scores of generated tokens' -r
complete -c mscc -n "__fish_mscc_using_subcommand run" -l frequency-penalty -d 'Subtracted for each time a token was generated' -r
complete -c mscc -n "__fish_mscc_using_subcommand run" -l seed -d 'Makes sampling repeatable' -r
complete -c mscc -n "__fish_mscc_using_subcommand run" -l system -d 'System message, before all others' -r
complete -c mscc -n "__fish_mscc_using_subcommand run" -l chat-arg -d 'Variable of the chat template, as JSON: enable_thinking=false; may be given several times' -r
complete -c mscc -n "__fish_mscc_using_subcommand run" -l color -d 'Colours in messages; `auto` means on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c mscc -n "__fish_mscc_using_subcommand run" -l json -d 'Print token ids, text and figures as JSON at the end, in place of the text'
complete -c mscc -n "__fish_mscc_using_subcommand run" -l ignore-eos -d 'Go on behind the model\'s end tokens'
complete -c mscc -n "__fish_mscc_using_subcommand run" -l recommended -d 'Sample as the model\'s authors recommend; the options below win over that'
complete -c mscc -n "__fish_mscc_using_subcommand run" -l chat -d 'Take the prompt as a user\'s message: it goes through the model\'s chat template'
complete -c mscc -n "__fish_mscc_using_subcommand run" -s q -l quiet -d 'Print results and errors alone'
complete -c mscc -n "__fish_mscc_using_subcommand run" -s v -l verbose -d 'Also print what is done and how long it takes'
complete -c mscc -n "__fish_mscc_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mscc -n "__fish_mscc_using_subcommand chat" -l weights -d 'Directory of the weights, in place of the one the plan was compiled from' -r -F
complete -c mscc -n "__fish_mscc_using_subcommand chat" -l family -d 'File that describes the family of the model compiled here, in place of a built-in one' -r -F
complete -c mscc -n "__fish_mscc_using_subcommand chat" -l threads -d 'Threads that compute [default: one for each core]' -r
complete -c mscc -n "__fish_mscc_using_subcommand chat" -l memory-limit -d 'Most memory for caches, activations and weights that are made at the start, such as 8GiB [default: what is free]' -r
complete -c mscc -n "__fish_mscc_using_subcommand chat" -l max-tokens -d 'Most tokens to generate [default: 128; in a conversation, as many as fit]' -r
complete -c mscc -n "__fish_mscc_using_subcommand chat" -l stop -d 'Text that ends the generation; may be given several times' -r
complete -c mscc -n "__fish_mscc_using_subcommand chat" -l temperature -d 'Divides the scores; 0 is greedy' -r
complete -c mscc -n "__fish_mscc_using_subcommand chat" -l top-k -d 'Keeps the N likeliest tokens' -r
complete -c mscc -n "__fish_mscc_using_subcommand chat" -l top-p -d 'Keeps the likeliest tokens that add up to X' -r
complete -c mscc -n "__fish_mscc_using_subcommand chat" -l min-p -d 'Keeps tokens at least X as likely as the likeliest' -r
complete -c mscc -n "__fish_mscc_using_subcommand chat" -l repetition-penalty -d 'Makes tokens already there less likely; 1 does nothing' -r
complete -c mscc -n "__fish_mscc_using_subcommand chat" -l presence-penalty -d 'Subtracted from the scores of generated tokens' -r
complete -c mscc -n "__fish_mscc_using_subcommand chat" -l frequency-penalty -d 'Subtracted for each time a token was generated' -r
complete -c mscc -n "__fish_mscc_using_subcommand chat" -l seed -d 'Makes sampling repeatable' -r
complete -c mscc -n "__fish_mscc_using_subcommand chat" -l system -d 'System message, before all others' -r
complete -c mscc -n "__fish_mscc_using_subcommand chat" -l chat-arg -d 'Variable of the chat template, as JSON: enable_thinking=false; may be given several times' -r
complete -c mscc -n "__fish_mscc_using_subcommand chat" -l color -d 'Colours in messages; `auto` means on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c mscc -n "__fish_mscc_using_subcommand chat" -l json -d 'Print each answer as a line of JSON when it is complete'
complete -c mscc -n "__fish_mscc_using_subcommand chat" -l ignore-eos -d 'Go on behind the model\'s end tokens'
complete -c mscc -n "__fish_mscc_using_subcommand chat" -l recommended -d 'Sample as the model\'s authors recommend; the options below win over that'
complete -c mscc -n "__fish_mscc_using_subcommand chat" -s q -l quiet -d 'Print results and errors alone'
complete -c mscc -n "__fish_mscc_using_subcommand chat" -s v -l verbose -d 'Also print what is done and how long it takes'
complete -c mscc -n "__fish_mscc_using_subcommand chat" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mscc -n "__fish_mscc_using_subcommand logits" -l weights -d 'Directory of the weights, in place of the one the plan was compiled from' -r -F
complete -c mscc -n "__fish_mscc_using_subcommand logits" -l family -d 'File that describes the family of the model compiled here, in place of a built-in one' -r -F
complete -c mscc -n "__fish_mscc_using_subcommand logits" -l threads -d 'Threads that compute [default: one for each core]' -r
complete -c mscc -n "__fish_mscc_using_subcommand logits" -l memory-limit -d 'Most memory for caches, activations and weights that are made at the start, such as 8GiB [default: what is free]' -r
complete -c mscc -n "__fish_mscc_using_subcommand logits" -l prompt -d 'The prompt as text' -r
complete -c mscc -n "__fish_mscc_using_subcommand logits" -l prompt-ids -d 'The prompt as token ids, taken as they are: 1,2,3' -r
complete -c mscc -n "__fish_mscc_using_subcommand logits" -l chunk -d 'Most tokens in a step [default: as many as the plan takes, and as have 64 MiB of logits]' -r
complete -c mscc -n "__fish_mscc_using_subcommand logits" -s o -l output -d 'File for the tensors' -r -F
complete -c mscc -n "__fish_mscc_using_subcommand logits" -l color -d 'Colours in messages; `auto` means on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c mscc -n "__fish_mscc_using_subcommand logits" -l hidden -d 'Also write every layer\'s output'
complete -c mscc -n "__fish_mscc_using_subcommand logits" -l json -d 'Print tokens, names and shapes as JSON'
complete -c mscc -n "__fish_mscc_using_subcommand logits" -s q -l quiet -d 'Print results and errors alone'
complete -c mscc -n "__fish_mscc_using_subcommand logits" -s v -l verbose -d 'Also print what is done and how long it takes'
complete -c mscc -n "__fish_mscc_using_subcommand logits" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mscc -n "__fish_mscc_using_subcommand eval" -l weights -d 'Directory of the weights, in place of the one the plan was compiled from' -r -F
complete -c mscc -n "__fish_mscc_using_subcommand eval" -l family -d 'File that describes the family of the model compiled here, in place of a built-in one' -r -F
complete -c mscc -n "__fish_mscc_using_subcommand eval" -l threads -d 'Threads that compute [default: one for each core]' -r
complete -c mscc -n "__fish_mscc_using_subcommand eval" -l memory-limit -d 'Most memory for caches, activations and weights that are made at the start, such as 8GiB [default: what is free]' -r
complete -c mscc -n "__fish_mscc_using_subcommand eval" -l file -d 'The text' -r -F
complete -c mscc -n "__fish_mscc_using_subcommand eval" -l window -d 'Tokens of a window' -r
complete -c mscc -n "__fish_mscc_using_subcommand eval" -l color -d 'Colours in messages; `auto` means on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c mscc -n "__fish_mscc_using_subcommand eval" -l json -d 'Print the figures as JSON'
complete -c mscc -n "__fish_mscc_using_subcommand eval" -s q -l quiet -d 'Print results and errors alone'
complete -c mscc -n "__fish_mscc_using_subcommand eval" -s v -l verbose -d 'Also print what is done and how long it takes'
complete -c mscc -n "__fish_mscc_using_subcommand eval" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mscc -n "__fish_mscc_using_subcommand inspect" -l html -d 'Write a page with graphs, memory, weights and launches' -r -F
complete -c mscc -n "__fish_mscc_using_subcommand inspect" -l dot -d 'Write the fused graphs for Graphviz; `-` is standard output' -r -F
complete -c mscc -n "__fish_mscc_using_subcommand inspect" -l kind -d 'With --dot: of this kind of layer alone' -r
complete -c mscc -n "__fish_mscc_using_subcommand inspect" -l onnx -d 'Write the fused graphs for viewers of ONNX, such as Netron' -r -F
complete -c mscc -n "__fish_mscc_using_subcommand inspect" -l color -d 'Colours in messages; `auto` means on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c mscc -n "__fish_mscc_using_subcommand inspect" -l json -d 'Print everything as JSON'
complete -c mscc -n "__fish_mscc_using_subcommand inspect" -l launches -d 'Print all launches with their operands'
complete -c mscc -n "__fish_mscc_using_subcommand inspect" -s q -l quiet -d 'Print results and errors alone'
complete -c mscc -n "__fish_mscc_using_subcommand inspect" -s v -l verbose -d 'Also print what is done and how long it takes'
complete -c mscc -n "__fish_mscc_using_subcommand inspect" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mscc -n "__fish_mscc_using_subcommand explain" -l rule -d 'Of these rules alone, by name' -r
complete -c mscc -n "__fish_mscc_using_subcommand explain" -l layer -d 'Of this layer\'s kind alone' -r
complete -c mscc -n "__fish_mscc_using_subcommand explain" -l expect -d 'Compare with a record, and end with exit code 1 if something no longer fuses' -r -F
complete -c mscc -n "__fish_mscc_using_subcommand explain" -l record -d 'Record what fuses, for --expect' -r -F
complete -c mscc -n "__fish_mscc_using_subcommand explain" -l target -d 'Device the plan is for: cpu, ascend910b1 to ascend910b4, ascend910_93 or ascend310p [default: cpu]' -r
complete -c mscc -n "__fish_mscc_using_subcommand explain" -l dtype -d 'Element type of weights on the device: auto, float32 (or fp32, f32), float16 (half, fp16, f16), bfloat16 (bf16) [default: auto]' -r
complete -c mscc -n "__fish_mscc_using_subcommand explain" -l compute-dtype -d 'Element type of activations: float32 (or fp32, f32), bfloat16 (bf16, auto) [default: bfloat16]' -r
complete -c mscc -n "__fish_mscc_using_subcommand explain" -l max-model-len -d 'Longest sequence, in tokens [default: the model\'s own limit]' -r
complete -c mscc -n "__fish_mscc_using_subcommand explain" -l max-num-seqs -d 'Most sequences in a step [default: 64]' -r
complete -c mscc -n "__fish_mscc_using_subcommand explain" -l max-num-batched-tokens -d 'Most new tokens in a step [default: 2048]' -r
complete -c mscc -n "__fish_mscc_using_subcommand explain" -l block-size -d 'Tokens of a cache page [default: 16]' -r
complete -c mscc -n "__fish_mscc_using_subcommand explain" -l latent-attention -d 'Form of attention over cached latents: auto, absorbed, expanded; of one form, logits do not depend on how a prompt is cut into steps [default: auto]' -r
complete -c mscc -n "__fish_mscc_using_subcommand explain" -l tokenizer -d 'Directory with tokenizer files [default: the model\'s]' -r -F
complete -c mscc -n "__fish_mscc_using_subcommand explain" -l chat-template -d 'File with a chat template [default: the model\'s own]' -r -F
complete -c mscc -n "__fish_mscc_using_subcommand explain" -l family -d 'File that describes the model\'s family, in place of a built-in one' -r -F
complete -c mscc -n "__fish_mscc_using_subcommand explain" -l rules -d 'File with rewrite rules of your own, which are proved first; may be given several times' -r -F
complete -c mscc -n "__fish_mscc_using_subcommand explain" -l without-rule -d 'Rewrite rules that are left out, by name' -r
complete -c mscc -n "__fish_mscc_using_subcommand explain" -l stop-after-rewrite -d 'Make no more rewrites after so many, to find one that is at fault; `mscc explain` numbers them' -r
complete -c mscc -n "__fish_mscc_using_subcommand explain" -l color -d 'Colours in messages; `auto` means on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c mscc -n "__fish_mscc_using_subcommand explain" -l summary -d 'What fusion saves in typical steps, kind by kind'
complete -c mscc -n "__fish_mscc_using_subcommand explain" -l json -d 'Print it as JSON'
complete -c mscc -n "__fish_mscc_using_subcommand explain" -l config-only -d 'Compile from configs alone, without weights'
complete -c mscc -n "__fish_mscc_using_subcommand explain" -l strict -d 'Take warnings about the model\'s files as errors: keys and tensors that nobody reads'
complete -c mscc -n "__fish_mscc_using_subcommand explain" -s q -l quiet -d 'Print results and errors alone'
complete -c mscc -n "__fish_mscc_using_subcommand explain" -s v -l verbose -d 'Also print what is done and how long it takes'
complete -c mscc -n "__fish_mscc_using_subcommand explain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mscc -n "__fish_mscc_using_subcommand opt" -l passes -d 'Passes in order: normalise, recut, fuse' -r
complete -c mscc -n "__fish_mscc_using_subcommand opt" -l target -d 'Device whose kernels and costs decide' -r
complete -c mscc -n "__fish_mscc_using_subcommand opt" -l rules -d 'File with rewrite rules of your own, which are proved first; may be given several times' -r -F
complete -c mscc -n "__fish_mscc_using_subcommand opt" -s o -l output -d 'File for the result [default: standard output]' -r -F
complete -c mscc -n "__fish_mscc_using_subcommand opt" -l color -d 'Colours in messages; `auto` means on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c mscc -n "__fish_mscc_using_subcommand opt" -l json -d 'With -o: print what the passes did as JSON'
complete -c mscc -n "__fish_mscc_using_subcommand opt" -s q -l quiet -d 'Print results and errors alone'
complete -c mscc -n "__fish_mscc_using_subcommand opt" -s v -l verbose -d 'Also print what is done and how long it takes'
complete -c mscc -n "__fish_mscc_using_subcommand opt" -s h -l help -d 'Print help'
complete -c mscc -n "__fish_mscc_using_subcommand models" -l color -d 'Colours in messages; `auto` means on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c mscc -n "__fish_mscc_using_subcommand models" -l json -d 'Print the list as JSON'
complete -c mscc -n "__fish_mscc_using_subcommand models" -s q -l quiet -d 'Print results and errors alone'
complete -c mscc -n "__fish_mscc_using_subcommand models" -s v -l verbose -d 'Also print what is done and how long it takes'
complete -c mscc -n "__fish_mscc_using_subcommand models" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mscc -n "__fish_mscc_using_subcommand completions" -l color -d 'Colours in messages; `auto` means on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c mscc -n "__fish_mscc_using_subcommand completions" -s q -l quiet -d 'Print results and errors alone'
complete -c mscc -n "__fish_mscc_using_subcommand completions" -s v -l verbose -d 'Also print what is done and how long it takes'
complete -c mscc -n "__fish_mscc_using_subcommand completions" -s h -l help -d 'Print help'
complete -c mscc -n "__fish_mscc_using_subcommand man" -s o -l output -d 'Write the pages of all commands into this directory' -r -F
complete -c mscc -n "__fish_mscc_using_subcommand man" -l color -d 'Colours in messages; `auto` means on a terminal, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c mscc -n "__fish_mscc_using_subcommand man" -s q -l quiet -d 'Print results and errors alone'
complete -c mscc -n "__fish_mscc_using_subcommand man" -s v -l verbose -d 'Also print what is done and how long it takes'
complete -c mscc -n "__fish_mscc_using_subcommand man" -s h -l help -d 'Print help'
complete -c mscc -n "__fish_mscc_using_subcommand help; and not __fish_seen_subcommand_from compile run chat logits eval inspect explain opt models completions man help" -f -a "compile" -d 'Compile a model into a plan'
complete -c mscc -n "__fish_mscc_using_subcommand help; and not __fish_seen_subcommand_from compile run chat logits eval inspect explain opt models completions man help" -f -a "run" -d 'Continue a text, or answer a message'
complete -c mscc -n "__fish_mscc_using_subcommand help; and not __fish_seen_subcommand_from compile run chat logits eval inspect explain opt models completions man help" -f -a "chat" -d 'Talk with a model'
complete -c mscc -n "__fish_mscc_using_subcommand help; and not __fish_seen_subcommand_from compile run chat logits eval inspect explain opt models completions man help" -f -a "logits" -d 'Write the logits of every token of a prompt'
complete -c mscc -n "__fish_mscc_using_subcommand help; and not __fish_seen_subcommand_from compile run chat logits eval inspect explain opt models completions man help" -f -a "eval" -d 'Measure perplexity on a text'
complete -c mscc -n "__fish_mscc_using_subcommand help; and not __fish_seen_subcommand_from compile run chat logits eval inspect explain opt models completions man help" -f -a "inspect" -d 'Show what a plan holds'
complete -c mscc -n "__fish_mscc_using_subcommand help; and not __fish_seen_subcommand_from compile run chat logits eval inspect explain opt models completions man help" -f -a "explain" -d 'Say what fusion did and why'
complete -c mscc -n "__fish_mscc_using_subcommand help; and not __fish_seen_subcommand_from compile run chat logits eval inspect explain opt models completions man help" -f -a "opt" -d 'Run passes over a graph in IR text and print what comes out'
complete -c mscc -n "__fish_mscc_using_subcommand help; and not __fish_seen_subcommand_from compile run chat logits eval inspect explain opt models completions man help" -f -a "models" -d 'List the model families that can be compiled'
complete -c mscc -n "__fish_mscc_using_subcommand help; and not __fish_seen_subcommand_from compile run chat logits eval inspect explain opt models completions man help" -f -a "completions" -d 'Write completions for a shell to standard output'
complete -c mscc -n "__fish_mscc_using_subcommand help; and not __fish_seen_subcommand_from compile run chat logits eval inspect explain opt models completions man help" -f -a "man" -d 'Write a manual page to standard output'
complete -c mscc -n "__fish_mscc_using_subcommand help; and not __fish_seen_subcommand_from compile run chat logits eval inspect explain opt models completions man help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
